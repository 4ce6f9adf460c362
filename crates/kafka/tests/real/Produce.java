// SPDX-License-Identifier: MIT OR Apache-2.0
// Another library than ours: Kafka's own producer. Each line of the file is a message: topic, key
// and body in hexadecimal (`-` is null), then header fields NAME=HEX; the position is printed.

import java.io.FileInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.Properties;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Produce {
    public static void main(String[] args) throws Exception {
        Properties client = new Properties();
        try (FileInputStream file = new FileInputStream(args[0])) {
            client.load(file);
        }
        ByteArraySerializer bytes = new ByteArraySerializer();
        try (Producer<byte[], byte[]> producer = new KafkaProducer<>(client, bytes, bytes)) {
            for (String line : Files.readAllLines(Path.of(args[1]))) {
                String[] words = line.split(" ");
                // A time of its own, in the year 2000.
                ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(
                    words[0], null, 946684800000L, hex(words[1]), hex(words[2]));
                for (int at = 3; at < words.length; at++) {
                    String[] field = words[at].split("=", 2);
                    record.headers().add(field[0], hex(field[1]));
                }
                RecordMetadata done = producer.send(record).get();
                System.out.println(done.topic() + "/" + done.partition() + "/" + done.offset());
            }
        }
    }

    static byte[] hex(String text) {
        return text.equals("-") ? null : HexFormat.of().parseHex(text);
    }
}
