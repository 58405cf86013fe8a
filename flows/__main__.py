from flows.app import main

main()
