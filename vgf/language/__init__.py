"""Language models as references, and the text and rewards they are steered with."""
