"""exatlas inside a web service: a client that lives as long as the application, and streams relayed to browsers.

``starlette``  for Starlette and FastAPI (the extra `starlette`)
``aiohttp``    for aiohttp's server
``frames``     what travels to the browser, as bytes: pure
``positions``  what a browser that comes back has missed: pure
``relay``      one stream on its way to one browser, for any framework
"""
