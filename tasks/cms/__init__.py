"""Landing pages, their files, and sign-ups on them."""
