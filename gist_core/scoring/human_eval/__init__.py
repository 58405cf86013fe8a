"""Human evaluation: which of two answers people prefer, without knowing which model gave it (paper, section 4.2).

`package` draws the items and decides which answer each annotator sees as A; `files` writes what is handed out (`page`,
`label_studio`, `spreadsheet`) and, separately, the key; `answers` reads and checks what comes back; `store` keeps it;
`agreement` has the coefficients and `results` the figures."""
