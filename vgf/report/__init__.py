"""What a run directory shows: tables for the terminal, figures and pages, from its files alone.

``control_report``, ``text_report``  of one run: table, ``curve.png``, ``report.html``
``compare``, ``collect``, ``seeds``  of several runs
``episodes``, ``text_rows``, ``facts``, ``measurements``  read the files; ``points``, ``text_points`` summarise them
``page``, ``text_page``, ``page_parts``  put pages together; ``curves``, ``clouds``, ``cost``, ... draw
"""
