//! The stream between replicas, and KEDA's services, over mutual TLS on loopback: what they bring, what they cost, and what becomes of them
//! when one side is slow, dead, silent, or somebody else.

mod cost;
mod faults;
mod installation;
mod keda_services;
mod stream;
