"""Each stage of a study: search, prune, distil, repeat, finish, hand over."""
