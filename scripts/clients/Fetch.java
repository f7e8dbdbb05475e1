// Java's HttpClient, with nothing set but whom to trust: a truststore in javax.net.ssl.trustStore.
// java Fetch.java URL

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

public class Fetch {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest request =
                HttpRequest.newBuilder(URI.create(arguments[0])).timeout(Duration.ofSeconds(20)).build();
        var answer = client.send(request, BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new Exception("status " + answer.statusCode());
        }
        System.out.print(answer.body());
    }
}
