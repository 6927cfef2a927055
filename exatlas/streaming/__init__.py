"""Output over time, for any provider: polled jobs, server-sent events, and what readers hold in their hands.

``pages``   what a provider supplies to have a job polled: pure pieces, no loop
``pacing``  how long to hold a poll open and how long to pause, as a pure function of what the last poll showed
``feed``    one job polled once for all its readers
``polled``  the async generator over a feed
``events``  server-sent events over HTTP: reconnecting reads, and OpenAI-style streams that must say they are done
``decoding``  raw server-sent events that a worker yields as text
``job_stream``  the context manager around a stream
"""
