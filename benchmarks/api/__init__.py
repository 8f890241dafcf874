"""What people wait for at the API's own door: a published page, and the pages of every list."""
