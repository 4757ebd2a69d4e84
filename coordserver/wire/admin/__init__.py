"""Four-letter words, HTTP and metrics: how an operator asks the server about itself."""
