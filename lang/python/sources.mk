# What warmd injects for Python, in this order: cat of these files is one program.
PYTHON_ADAPTOR_SOURCES := \
	lang/python/warm/_looks.py \
	lang/python/warm/_context.py \
	lang/python/warm/_stdio.py \
	lang/python/warm/_numpy.py \
	lang/python/warm/_unique.py \
	lang/python/_track.py \
	lang/python/_signals.py \
	lang/python/_arguments.py \
	lang/python/_collector.py \
	lang/python/_boundary.py \
	lang/python/_exit.py \
	lang/python/_main.py \
	lang/python/adaptor.py
