// Command metricsclient asks an operator's gRPC services for tests, with KEDA's own generated code and google.golang.org/grpc: so a
// test speaks with it as tools do that are written for KEDA.
//
//	metricsclient [flags] get NAMESPACE NAME METRIC
//	metricsclient [flags] subscribe|unsubscribe SUBSCRIBER NAMESPACE NAME TRIGGER
//	metricsclient [flags] stream SUBSCRIBER
//
// Each message that it is answered is a line of JSON; an error is one too, with "code" and "message", and ends it.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/kedacore/keda/v2/pkg/metricsservice/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

var (
	address = flag.String("address", "", "the server's address")
	certs   = flag.String("certs", "", "the folder of ca.crt, tls.crt and tls.key, as in KEDA's Secret")
	name    = flag.String("name", "", "what the server's certificate has to be good for")
	plain   = flag.Bool("plain", false, "without TLS")
	nobody  = flag.Bool("nobody", false, "without a certificate of one's own")
	oldTLS  = flag.Bool("tls12", false, "TLS 1.2 at most")
	timeout = flag.Duration("timeout", time.Minute, "how long all of it may take")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	if err := run(ctx, flag.Args()); err != nil {
		said := status.Convert(err)
		line, _ := json.Marshal(map[string]string{"code": said.Code().String(), "message": said.Message()})
		fmt.Println(string(line))
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	secure, err := transport()
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(*address, grpc.WithTransportCredentials(secure))
	if err != nil {
		return err
	}
	defer connection.Close()
	raw := api.NewRawMetricsServiceClient(connection)
	switch {
	case len(arguments) == 4 && arguments[0] == "get":
		answer, err := api.NewMetricsServiceClient(connection).GetMetrics(ctx, reference(arguments[1:]))
		return show(answer, err)
	case len(arguments) == 5 && arguments[0] == "subscribe":
		answer, err := raw.SubscribeMetric(ctx, subscription(arguments[1:]))
		return show(answer, err)
	case len(arguments) == 5 && arguments[0] == "unsubscribe":
		answer, err := raw.UnsubscribeMetric(ctx, subscription(arguments[1:]))
		return show(answer, err)
	case len(arguments) == 2 && arguments[0] == "stream":
		stream, err := raw.GetRawMetricsStream(ctx, &api.RawMetricsRequest{Subscriber: arguments[1]})
		if err != nil {
			return err
		}
		for {
			message, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err := show(message, err); err != nil {
				return err
			}
		}
	}
	log.Fatalf("metricsclient: what is %q?", arguments)
	return nil
}

func subscription(arguments []string) *api.SubscriptionRequest {
	return &api.SubscriptionRequest{Subscriber: arguments[0], MetricMetadata: reference(arguments[1:])}
}

func reference(arguments []string) *api.ScaledObjectRef {
	return &api.ScaledObjectRef{Namespace: arguments[0], Name: arguments[1], MetricName: arguments[2]}
}

func show(message proto.Message, err error) error {
	if err != nil {
		return err
	}
	line, err := protojson.MarshalOptions{EmitDefaultValues: true}.Marshal(message)
	if err != nil {
		return err
	}
	fmt.Println(string(line))
	return nil
}

func transport() (credentials.TransportCredentials, error) {
	if *plain {
		return insecure.NewCredentials(), nil
	}
	authorities, err := os.ReadFile(filepath.Join(*certs, "ca.crt"))
	if err != nil {
		return nil, err
	}
	config := &tls.Config{ServerName: *name, RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(authorities)
	if *oldTLS {
		config.MaxVersion = tls.VersionTLS12
	}
	if !*nobody {
		own, err := tls.LoadX509KeyPair(filepath.Join(*certs, "tls.crt"), filepath.Join(*certs, "tls.key"))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{own}
	}
	return credentials.NewTLS(config), nil
}
