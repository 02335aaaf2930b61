//! Tests against real components: a real MongoDB, the real SQS API, the simulator over HTTP, and the service as SAM
//! deploys it. They are run by `make test`, which starts the servers.
