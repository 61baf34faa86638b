"""A run behind HTTP: ``vgf serve RUN``.

::

    http.py        reading bodies, errors as JSON       text.py, chat.py   OpenAI's completions and chat completions
    batching.py    requests of a few ms side by side    control.py         observations to actions
    limits.py      what one request may ask for         command.py, app.py the command line and the application

Needs the ``serve`` extra (FastAPI, uvicorn). ``python -m vgf.serve.load`` measures a server.
"""
