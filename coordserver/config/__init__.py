"""Settings: frozen, checked as a whole, with defaults; and the TOML file that they may come from."""
