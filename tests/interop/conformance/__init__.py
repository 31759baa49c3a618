"""The published cases of the Autobahn test suite (its groups 1 to 7, 9 and 10) against a node's WebSocket end.

The suite itself is for Python 2 and asks for a server that sends back what it gets; a node does not. So a message here is a
*ping* frame of CloudSync, as long as the case wants it, and what comes back is the *pong* with its number. A node takes
binary messages only: the suite's text cases are sent in binary, and group 6 shows how text is refused. Groups 12 and 13 are
about compression, which is not offered.

Never: a WebSocket library; what both ends believe would not be seen.
"""
