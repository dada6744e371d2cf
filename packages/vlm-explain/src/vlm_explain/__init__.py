"""Why a model answers as it does: relevance, rationales, spurious features."""
