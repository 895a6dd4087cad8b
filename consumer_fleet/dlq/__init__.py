"""Dead letters: what there is, why, and what becomes of them."""
