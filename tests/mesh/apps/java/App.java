import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;

/** The JDK's own HTTP server and client: `App serve PORT`, `App ask BASE`. It knows no mesh. */
public class App {
    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("serve")) {
            serve(Integer.parseInt(arguments[1]));
        } else {
            ask(arguments[1]);
        }
    }

    static void serve(int port) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("0.0.0.0", port), 100);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> {
            byte[] body = exchange.getRequestBody().readAllBytes();
            String said = exchange.getRequestMethod() + " " + exchange.getRequestURI() + " " + body.length;
            byte[] answer = said.getBytes();
            int code = exchange.getRequestURI().getPath().equals("/missing") ? 404 : 200;
            exchange.getResponseHeaders().add("x-said", said);
            if (exchange.getRequestMethod().equals("HEAD")) {
                exchange.sendResponseHeaders(code, -1);
            } else if (exchange.getRequestURI().getPath().equals("/chunked")) {
                exchange.sendResponseHeaders(code, 0);
                for (int part = 0; part < 1000; part++) {
                    exchange.getResponseBody().write(answer);
                }
            } else {
                exchange.sendResponseHeaders(code, answer.length);
                exchange.getResponseBody().write(answer);
            }
            exchange.close();
        });
        server.start();
    }

    /** The client offers an upgrade to HTTP/2 with its first request, as it does by default. */
    static void ask(String base) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (String path : new String[] {"/get?a=%20b", "/missing", "/chunked"}) {
            var got = client.send(HttpRequest.newBuilder(URI.create(base + path)).build(), BodyHandlers.ofString());
            System.out.println(got.statusCode() + " " + got.version() + " " + got.body().length() + " " + got.headers().firstValue("x-said").get());
        }
        for (String method : new String[] {"POST", "PUT", "DELETE", "HEAD"}) {
            var sent = method.equals("HEAD") ? BodyPublishers.noBody() : BodyPublishers.ofByteArray(new byte[300_000]);
            var request = HttpRequest.newBuilder(URI.create(base + "/" + method)).method(method, sent).build();
            var got = client.send(request, BodyHandlers.ofString());
            System.out.println(got.statusCode() + " " + got.body());
        }
        var expecting = HttpRequest.newBuilder(URI.create(base + "/expect")).expectContinue(true)
            .POST(BodyPublishers.ofByteArray(new byte[100_000])).build();
        System.out.println(client.send(expecting, BodyHandlers.ofString()).body());
        var many = new ArrayList<CompletableFuture<Integer>>();
        for (int number = 0; number < 200; number++) {
            var request = HttpRequest.newBuilder(URI.create(base + "/" + number)).build();
            many.add(client.sendAsync(request, BodyHandlers.ofString()).thenApply(got -> got.statusCode()));
        }
        int sum = 0;
        for (var one : many) {
            sum += one.get();
        }
        System.out.println(sum);
    }
}
