"""Human evaluation: which of two answers people prefer, without knowing which model gave it (paper, section 4.2).

`package` draws the items and decides who sees what as A and as B; `files` writes what is handed out (`page`,
`label_studio`, `spreadsheet`) and, apart from it, the key; `answers` reads and checks what comes back; `agreement` has
the coefficients and `results` the figures."""
