"""The config: schema, values, and the root dataclass."""
