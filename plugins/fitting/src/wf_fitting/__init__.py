"""Which components fit each other, by the rules that plugins bring, and which links are put between them."""
