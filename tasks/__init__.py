"""One module a domain: what the data is, what the environment is, how a result is scored."""
