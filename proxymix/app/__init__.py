"""The roof: the command line, the configuration, the stages and the study; only it knows the stages."""

from proxymix.siblings import check_siblings

check_siblings()
