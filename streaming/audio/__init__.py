"""The pure audio core: bytes to segments, on the audio clock."""
