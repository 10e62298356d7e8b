"""The collector: takes telemetry over HTTP and gRPC and hands it to the topics.

A request's way: a server reads it within bounds (`http.py`, `rpc.py`), the intake inflates, decodes
and judges it (`intake.py`), what is good becomes one parcel a partition (`judging.py`), a parcel
goes to Kafka or into the buffer on disk (`sender.py`, `buffer.py`), and then the answer goes out.
"""
