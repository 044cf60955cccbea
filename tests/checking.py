"""The run-time type checker of the suite: beartype, reading ``float`` as the typing rules do (an int is one)."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
