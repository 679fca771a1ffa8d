"""A server of trained models: `serve` runs it, `front` talks to clients, `worker` translates."""
