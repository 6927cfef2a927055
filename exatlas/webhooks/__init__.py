"""Callbacks from clouds, believed only when they prove where they come from.

Clouds sign nothing, so the proof is in the URL. Each submission gets a URL of its own, ending in provider, endpoint and
a token: a random nonce and an expiry, under an HMAC-SHA256 over all four. Nothing of the URL can be changed, one URL is
no help in guessing another, and any process that has the secret can check it. What it proves is that the caller was
given this URL: the cloud, the worker, and whoever reads access logs (keep these URLs out of them).

The job's id is not known before the submit, so the nonce is tied to it later: by :meth:`Webhooks.bind` when the submit
returns, or by the first callback that comes with it. From then on the nonce speaks for that job alone, and nobody else
for the job. A first callback that named another job than the submit does is dropped with what it said. A process that
did not submit the job can only go by first sight: with several processes behind one URL, use ``confirm=True``, which
asks the cloud for the job before believing anything.

``tickets``   tokens and URLs: pure
``arrivals``  what is remembered of callbacks, within bounds: pure
``reception`` :class:`Webhooks`, which a service owns
"""

from exatlas.webhooks.reception import Answer, Webhooks

__all__ = ["Answer", "Webhooks"]
