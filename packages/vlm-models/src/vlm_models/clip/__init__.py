"""CLIP files as OpenAI and the programs of the WiSE-FT family write them."""
