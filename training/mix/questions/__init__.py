"""Questions made from what is known of a picture; one file for each kind of question."""
