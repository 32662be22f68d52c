// goapp http-serve PORT | http-ask URL | grpc-serve PORT | grpc-ask TARGET: net/http and grpc-go as they come.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func httpServe(port string) {
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "%s %s %d %x %v\n", r.Method, r.URL, len(body), sha256.Sum256(body), r.Trailer)
		w.Header().Set("X-Sum", fmt.Sprint(len(body)))
	})
	must(http.ListenAndServe(":"+port, nil))
}

// unknown hides a reader's length, so that the request is chunked.
type unknown struct{ io.Reader }

func httpAsk(url string) {
	for _, body := range []io.Reader{nil, strings.NewReader("short"), unknown{bytes.NewReader(bytes.Repeat([]byte("gossamer"), 200_000))}} {
		request, err := http.NewRequest("POST", url+"/echo?x=%2F", body)
		must(err)
		request.Trailer = http.Header{"X-End": nil}
		request.Trailer.Set("X-End", "yes")
		answer, err := http.DefaultClient.Do(request)
		must(err)
		text, err := io.ReadAll(answer.Body)
		must(err)
		fmt.Printf("%d %s%v\n", answer.StatusCode, text, answer.Trailer)
	}
	var group sync.WaitGroup
	var lock sync.Mutex
	good := 0
	for i := 0; i < 200; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			answer, err := http.Post(url+"/echo", "text/plain", strings.NewReader(strings.Repeat("x", 1000)))
			if err == nil && answer.StatusCode == 200 {
				io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
				lock.Lock()
				good++
				lock.Unlock()
			}
		}()
	}
	group.Wait()
	fmt.Println("at once:", good)
}

// raw passes bytes through: no generated messages are needed.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (raw) Unmarshal(data []byte, v any) error { *v.(*[]byte) = append([]byte(nil), data...); return nil }
func (raw) Name() string                       { return "raw" }

func grpcServe(port string) {
	listener, err := net.Listen("tcp", ":"+port)
	must(err)
	handler := func(_ any, stream grpc.ServerStream) error {
		stream.SetTrailer(metadata.Pairs("x-last", "go"))
		for {
			var message []byte
			if err := stream.RecvMsg(&message); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			if string(message) == "fail" {
				return status.Error(codes.Aborted, "as asked")
			}
			reply := bytes.ToUpper(message)
			if err := stream.SendMsg(&reply); err != nil {
				return err
			}
		}
	}
	must(grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(handler)).Serve(listener))
}

func grpcAsk(target string) {
	encoding.RegisterCodec(raw{})
	connection, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	must(err)
	context_, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var trailer metadata.MD
	in, out := []byte("hello"), []byte(nil)
	fmt.Println(connection.Invoke(context_, "/go.Echo/Any", &in, &out, grpc.Trailer(&trailer)), string(out), trailer.Get("x-last"))
	in = []byte("fail")
	fmt.Println(status.Code(connection.Invoke(context_, "/go.Echo/Any", &in, &out)))
	stream, err := connection.NewStream(context_, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/go.Echo/Stream")
	must(err)
	total := 0
	for i := 0; i < 500; i++ {
		message := bytes.Repeat([]byte("m"), i*20)
		must(stream.SendMsg(&message))
		must(stream.RecvMsg(&out))
		total += len(out)
	}
	must(stream.CloseSend())
	fmt.Println(total, stream.RecvMsg(&out))
}

func main() {
	map[string]func(string){"http-serve": httpServe, "http-ask": httpAsk, "grpc-serve": grpcServe, "grpc-ask": grpcAsk}[os.Args[1]](os.Args[2])
}
