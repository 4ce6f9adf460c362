// SPDX-License-Identifier: MIT OR Apache-2.0
// Makes stores, topics, users and grants as a file says, a line each; what is there already stays.
// One virtual machine for all of it, and no password in any process's arguments.

import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.resource.*;

public class Setup {
    static final List<NewTopic> topics = new ArrayList<>();
    static final List<AclBinding> grants = new ArrayList<>();
    static final List<UserScramCredentialAlteration> users = new ArrayList<>();
    static final Properties client = new Properties();

    public static void main(String[] args) throws Exception {
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            if (!line.isBlank() && !line.startsWith("#")) read(line.split(" "));
        }
        try (Admin admin = Admin.create(client)) {
            for (NewTopic topic : topics) make(admin, topic);
            if (!grants.isEmpty()) admin.createAcls(grants).all().get();
            if (!users.isEmpty()) admin.alterUserScramCredentials(users).all().get();
        }
    }

    static void make(Admin admin, NewTopic topic) throws Exception {
        try {
            admin.createTopics(List.of(topic)).all().get();
        } catch (ExecutionException error) {
            if (!(error.getCause() instanceof TopicExistsException)) throw error;
        }
    }

    static void read(String[] words) throws Exception {
        switch (words[0]) {
            case "connect" -> {
                try (FileInputStream file = new FileInputStream(words[2])) {
                    client.load(file);
                }
                client.put("bootstrap.servers", words[1]);
            }
            case "connect-plain" -> client.put("bootstrap.servers", words[1]);
            case "topic" -> {
                Map<String, String> settings = new HashMap<>();
                for (int at = 3; at < words.length; at++) {
                    String[] setting = words[at].split("=", 2);
                    settings.put(setting[0], setting[1]);
                }
                NewTopic topic = new NewTopic(words[1], Integer.parseInt(words[2]), (short) 1);
                topics.add(topic.configs(settings));
            }
            case "grant" -> {
                ResourceType type = ResourceType.valueOf(words[2]);
                boolean begins = words[3].length() > 1 && words[3].endsWith("*");
                ResourcePattern what = begins
                    ? new ResourcePattern(type, words[3].replace("*", ""), PatternType.PREFIXED)
                    : new ResourcePattern(type, words[3], PatternType.LITERAL);
                for (String may : words[4].split(",")) {
                    grants.add(new AclBinding(what, new AccessControlEntry(
                        "User:" + words[1], "*", AclOperation.valueOf(may),
                        AclPermissionType.ALLOW)));
                }
            }
            case "user" -> users.add(new UserScramCredentialUpsertion(
                words[1], new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 8192),
                text(words[2])));
            case "convert" -> convert(words[1], text(words[2]).toCharArray(), words[3], words[4]);
            case "trust" -> trust(words[1], text(words[2]).toCharArray(), words[3], words[4]);
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    static void convert(String type, char[] password, String from, String to) throws Exception {
        KeyStore source = KeyStore.getInstance("PKCS12");
        try (FileInputStream file = new FileInputStream(from)) {
            source.load(file, password);
        }
        KeyStore made = KeyStore.getInstance(type);
        made.load(null, null);
        String alias = source.aliases().nextElement();
        made.setKeyEntry(alias, source.getKey(alias, password), password,
            source.getCertificateChain(alias));
        store(made, password, to);
    }

    static void trust(String type, char[] password, String authority, String to) throws Exception {
        KeyStore made = KeyStore.getInstance(type);
        made.load(null, null);
        try (FileInputStream file = new FileInputStream(authority)) {
            made.setCertificateEntry("ca",
                CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        store(made, password, to);
    }

    static void store(KeyStore made, char[] password, String to) throws Exception {
        try (FileOutputStream file = new FileOutputStream(to)) {
            made.store(file, password);
        }
    }

    static String text(String path) throws Exception {
        return Files.readString(Path.of(path)).strip();
    }
}
