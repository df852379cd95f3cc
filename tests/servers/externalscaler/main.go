// Command externalscaler is an external scaler for tests, served by KEDA's own generated code and google.golang.org/grpc: so a test
// of the trigger types external and external-push speaks with what users' servers are made of.
//
// What it answers for a ScaledObject is set over HTTP, on another port:
//
//	PUT  /NAMESPACE/NAME                 a state, see below; also for calls that hang at this moment
//	POST /NAMESPACE/NAME/push?active=B   a message to each stream of StreamIsActive that is open
//	GET  /NAMESPACE/NAME                 what was seen: open streams, calls by method, the metadata of the last call
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"

	pb "github.com/kedacore/keda/v2/pkg/scalers/externalscaler"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// state is what is answered for one ScaledObject.
type state struct {
	Active bool   `json:"active"`
	Specs  []spec `json:"specs"`
	// One GetMetrics gives all of them. As text, since JSON has no NaN.
	Values []value `json:"values"`
	// Calls get no answer until the next state. Streams stay as they are.
	Hang bool `json:"hang"`
	// Calls fail with this status code.
	Code    uint32 `json:"code"`
	Message string `json:"message"`
}

type spec struct {
	Name  string `json:"name"`
	Size  int64  `json:"size"`
	Float string `json:"float"`
}

type value struct {
	Whole int64  `json:"whole"`
	Float string `json:"float"`
}

// object is one ScaledObject: its state and what was seen of it.
type object struct {
	state   state
	changed chan struct{}
	streams []chan bool

	Streams       int               `json:"streams"`
	MetricStreams int               `json:"metricStreams"`
	Calls         map[string]int    `json:"calls"`
	Metadata      map[string]string `json:"metadata"`
	Metric        string            `json:"metric"`
}

type server struct {
	pb.UnimplementedExternalScalerServer
	withoutMetricStream bool

	mutex   sync.Mutex
	objects map[string]*object
}

// object gives an object, known or not. The mutex has to be held.
func (s *server) object(key string) *object {
	found := s.objects[key]
	if found == nil {
		found = &object{state: state{Code: uint32(codes.NotFound), Message: "no state was set"}, changed: make(chan struct{}), Calls: map[string]int{}}
		s.objects[key] = found
	}
	return found
}

func key(ref *pb.ScaledObjectRef) string { return ref.GetNamespace() + "/" + ref.GetName() }

// called counts a call and gives the state to answer with, which may take until there is another.
func (s *server) called(ctx context.Context, method string, ref *pb.ScaledObjectRef, metric string) (state, error) {
	for first := true; ; first = false {
		s.mutex.Lock()
		found := s.object(key(ref))
		if first {
			found.Calls[method]++
			found.Metadata = ref.GetScalerMetadata()
			if metric != "" {
				found.Metric = metric
			}
		}
		now, changed := found.state, found.changed
		s.mutex.Unlock()
		if !now.Hang {
			if now.Code != 0 {
				return now, status.Error(codes.Code(now.Code), now.Message)
			}
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return now, ctx.Err()
		}
	}
}

func (s *server) IsActive(ctx context.Context, ref *pb.ScaledObjectRef) (*pb.IsActiveResponse, error) {
	now, err := s.called(ctx, "IsActive", ref, "")
	return &pb.IsActiveResponse{Result: now.Active}, err
}

func (s *server) GetMetricSpec(ctx context.Context, ref *pb.ScaledObjectRef) (*pb.GetMetricSpecResponse, error) {
	now, err := s.called(ctx, "GetMetricSpec", ref, "")
	return specs(now), err
}

func specs(now state) *pb.GetMetricSpecResponse {
	answer := &pb.GetMetricSpecResponse{}
	for _, spec := range now.Specs {
		answer.MetricSpecs = append(answer.MetricSpecs, &pb.MetricSpec{MetricName: spec.Name, TargetSize: spec.Size, TargetSizeFloat: number(spec.Float)})
	}
	return answer
}

func (s *server) GetMetrics(ctx context.Context, request *pb.GetMetricsRequest) (*pb.GetMetricsResponse, error) {
	now, err := s.called(ctx, "GetMetrics", request.GetScaledObjectRef(), request.GetMetricName())
	answer := &pb.GetMetricsResponse{}
	for _, value := range now.Values {
		answer.MetricValues = append(answer.MetricValues, &pb.MetricValue{MetricName: request.GetMetricName(), MetricValue: value.Whole, MetricValueFloat: number(value.Float)})
	}
	return answer, err
}

// number is 0 for an empty text.
func number(text string) float64 {
	if text == "" {
		return 0
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		log.Printf("%q is no number: %v", text, err)
	}
	return number
}

func (s *server) StreamIsActive(ref *pb.ScaledObjectRef, stream grpc.ServerStreamingServer[pb.IsActiveResponse]) error {
	messages := make(chan bool, 1000)
	s.mutex.Lock()
	found := s.object(key(ref))
	found.streams = append(found.streams, messages)
	found.Streams++
	found.Calls["StreamIsActive"]++
	s.mutex.Unlock()
	defer func() {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		found.streams = slices.DeleteFunc(found.streams, func(other chan bool) bool { return other == messages })
		found.Streams--
	}()
	for {
		select {
		case active := <-messages:
			if err := stream.Send(&pb.IsActiveResponse{Result: active}); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (s *server) StreamMetricSpec(ref *pb.ScaledObjectRef, stream grpc.ServerStreamingServer[pb.GetMetricSpecResponse]) error {
	if s.withoutMetricStream {
		return s.UnimplementedExternalScalerServer.StreamMetricSpec(ref, stream)
	}
	s.mutex.Lock()
	found := s.object(key(ref))
	found.MetricStreams++
	found.Calls["StreamMetricSpec"]++
	s.mutex.Unlock()
	defer func() {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		found.MetricStreams--
	}()
	for {
		s.mutex.Lock()
		now, changed := found.state, found.changed
		s.mutex.Unlock()
		if now.Code == 0 && !now.Hang {
			if err := stream.Send(specs(now)); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (s *server) set(writer http.ResponseWriter, request *http.Request) {
	var wanted state
	if err := json.NewDecoder(request.Body).Decode(&wanted); err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	found := s.object(path(request))
	found.state = wanted
	close(found.changed)
	found.changed = make(chan struct{})
}

func (s *server) push(writer http.ResponseWriter, request *http.Request) {
	active, err := strconv.ParseBool(request.URL.Query().Get("active"))
	if err != nil {
		http.Error(writer, err.Error(), http.StatusBadRequest)
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	streams := s.object(path(request)).streams
	if len(streams) == 0 {
		http.Error(writer, "no stream is open", http.StatusConflict)
		return
	}
	for _, stream := range streams {
		select {
		case stream <- active:
		default:
			// Nobody takes in what is sent.
		}
	}
}

func (s *server) seen(writer http.ResponseWriter, request *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err := json.NewEncoder(writer).Encode(s.object(path(request))); err != nil {
		log.Print(err)
	}
}

func path(request *http.Request) string {
	return request.PathValue("namespace") + "/" + request.PathValue("name")
}

func main() {
	address := flag.String("grpc", "127.0.0.1:9090", "where external scaling is served")
	control := flag.String("control", "127.0.0.1:8080", "where tests set what is answered")
	certificate := flag.String("cert", "", "the server's certificate, PEM; with it TLS is spoken")
	private := flag.String("key", "", "the certificate's key, PEM")
	clients := flag.String("client-ca", "", "the authority of the clients' certificates, PEM; with it clients need one")
	without := flag.Bool("without-metric-stream", false, "leave out StreamMetricSpec, as servers older than KEDA 2.21 do")
	flag.Parse()

	var options []grpc.ServerOption
	if *certificate != "" {
		config, err := tlsConfig(*certificate, *private, *clients)
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	served := &server{withoutMetricStream: *without, objects: map[string]*object{}}
	grpcServer := grpc.NewServer(options...)
	pb.RegisterExternalScalerServer(grpcServer, served)
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(grpcServer.Serve(listener)) }()

	mux := http.NewServeMux()
	mux.HandleFunc("PUT /{namespace}/{name}", served.set)
	mux.HandleFunc("POST /{namespace}/{name}/push", served.push)
	mux.HandleFunc("GET /{namespace}/{name}", served.seen)
	log.Fatal(http.ListenAndServe(*control, mux))
}

func tlsConfig(certificate, private, clients string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certificate, private)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	if clients != "" {
		pem, err := os.ReadFile(clients)
		if err != nil {
			return nil, err
		}
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AppendCertsFromPEM(pem)
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}
