package main

import (
	_ "github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	_ "google.golang.org/grpc"
)

func main() {}
