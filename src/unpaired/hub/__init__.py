"""Weights that travel through a hub: `hf://owner/name`, `unpaired push`, and the model card."""
