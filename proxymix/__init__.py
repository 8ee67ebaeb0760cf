"""What every stage needs and none owns: file schemas, the study folder, the command line."""

__version__ = "0.1.0"
