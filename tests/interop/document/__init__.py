"""What needs no node: the frames as the page has them, the golden bytes, and the vectors, read and made again.

Never: a vector written; they are frozen.
"""
