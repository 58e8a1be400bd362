"""The commands of ``pixelfront``, a file a group; what several of them share is in `search.commands.options`."""
