"""litgpt's GPT, one or many in a process."""
