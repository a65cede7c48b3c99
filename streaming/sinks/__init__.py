"""Where events go besides the socket they were asked on."""
