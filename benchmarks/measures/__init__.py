"""What is measured, by the process that does the work. Each gives numbers by name; units are in the names.

``streams``   many streams at once, with and without limits
``opening``   the way to the first chunk
``floods``    one long stream, as fast as it goes
``calls``     many small calls
``decoding``  server-sent events without a socket
``starting``  imports
``ledgers``   durable writes
``sessions``  sessions that a worker looks after
``takeovers`` what happens between workers
``memory``    what a process has in memory
"""

Numbers = dict[str, float]
