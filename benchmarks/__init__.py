"""What exatlas costs, side by side with the bare floor and the vendor's own client, against one loopback server.

``server``    a RunPod-like cloud, fast enough not to be what is measured
``clients``   the same few operations in exatlas, in a bare aiohttp loop, and in the `runpod` package
``books``     the same few writes in a ledger, in bare database drivers, and in SQLAlchemy's asyncio side
``postgres``  a database server for them
``workers``   workers with sessions, in this process and in another
``measures``  what is measured, each in a child process of its own
``plan``      which measures, with which numbers
``rows``      which numbers are shown, and the targets
``runner``    one child process after the other, contenders in turn
``kept``      results as JSON
``report``    tables

Run ``python -m benchmarks``, or ``python -m benchmarks --quick`` for a first look in about a minute.
"""
