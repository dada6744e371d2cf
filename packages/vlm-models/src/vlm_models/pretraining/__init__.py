"""How the embedded model was pre-trained: rendered digits, their captions, and three training stages."""
