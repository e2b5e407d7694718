"""Everything that reads untrusted bytes: entries of archives, tables of labels, and the decoding of images in limited processes.
It uses neither the database nor torch, and what it returns has been checked."""
