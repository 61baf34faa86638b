"""A run behind HTTP: ``vgf serve RUN``.

::

    command.py   the command line                       app.py       the application
    http.py      reading bodies, errors as JSON         limits.py    what one request may ask for
    batching.py  requests of a few ms side by side      control.py   observations to actions
    text.py      OpenAI's three addresses for text      asked.py     what a request for text may hold
    decoder.py   completions of several requests        choices.py   how answers are written
    stream.py    answers token by token                 pieces.py    tokens to text as they come
    load.py      how fast a server answers

Needs the ``serve`` extra (FastAPI, uvicorn). ``python -m vgf.serve.load`` measures a server.
"""
