package org.harexport.apk

import java.io.File
import java.security.MessageDigest
import java.util.zip.ZipEntry
import java.util.zip.ZipFile
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

/** Content of the APK according to Android's tools and the zip directory. */
class ApkTest {
    private val apk = File(setting("apk"))
    private val main = File(setting("main"))
    private val badging = tool("aapt2", "dump", "badging", apk.path)
    private val manifest: List<Element> = elements(tool("aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", apk.path))
    private val components = manifest.filter { it.tag in listOf("application", "activity", "service", "receiver", "provider") }
    private val entries: Map<String, ZipEntry> = ZipFile(apk).use { zip -> zip.entries().asSequence().associateBy { it.name } }

    /** The classes with their access flags. */
    private val flags: Map<String, String> by lazy {
        tool("dexdump", apk.path).lines().zipWithNext().filter { (line, _) -> line.startsWith("  Class descriptor") }.associate { (line, next) ->
            line.substringAfter("'L").substringBefore(";'").replace('/', '.') to next
        }
    }
    private val classes: Set<String> get() = flags.keys

    /** Classes that R8 kept, by their names in the sources; most names are shorter in the APK. */
    private val kept: List<String> =
        File(setting("mapping")).readLines().mapNotNull { MAPPED.matchEntire(it)?.groupValues?.get(1) }

    @Test
    fun `package, version and SDK levels match the build`() {
        val name = "package: name='${setting("demo.package")}' versionCode='${setting("demo.versionCode")}' " +
            "versionName='${setting("demo.versionName")}'"
        assertTrue(badging, badging.startsWith(name))
        assertEquals(listOf(setting("demo.minSdk")), badgingValues("sdkVersion"))
        assertEquals(listOf(setting("demo.targetSdk")), badgingValues("targetSdkVersion"))
        assertTrue(badging, "launchable-activity: name='${setting("demo.package")}.MainActivity'" in badging)
    }

    @Test
    fun `only the permissions of the service are requested, and none for the internet`() {
        val names = listOf("FOREGROUND_SERVICE", "FOREGROUND_SERVICE_HEALTH", "HIGH_SAMPLING_RATE_SENSORS", "POST_NOTIFICATIONS", "VIBRATE", "WAKE_LOCK")
        val requested = manifest.filter { it.tag == "uses-permission" }.map { it.attributes.getValue("name").removePrefix("android.permission.") }
        assertEquals(names, requested.sorted())
    }

    @Test
    fun `the accelerometer is required and the gyroscope is optional`() {
        assertEquals(listOf("android.hardware.sensor.accelerometer"), features("uses-feature:"))
        assertEquals(listOf("android.hardware.sensor.gyroscope", "android.hardware.sensor.proximity"), features("uses-feature-not-required:"))
    }

    @Test
    fun `assets match the sources`() {
        val names = File(main, "assets").let { folder -> folder.walk().filter(File::isFile).map { it.relativeTo(folder).path }.toList() }.sorted()
        val model = listOf("contract.json", "golden.json", "labels.txt", "model.tflite")
        assertEquals((model + model.map { "accelerometer-only/$it" }).sorted(), names)
        assertEquals(names.map { "assets/$it" }, entries.keys.filter { it.startsWith("assets/") }.sorted())
        for (name in names) {
            assertTrue(name, content("assets/$name").contentEquals(File(main, "assets/$name").readBytes()))
        }
    }

    /** `openFd` requires an uncompressed asset; the app uses it only for the models. */
    @Test
    fun `only the models are uncompressed, as in the Gradle build`() {
        val stored = entries.filterKeys { it.startsWith("assets/") }.filterValues { it.method == ZipEntry.STORED }.keys
        assertEquals(setOf("assets/model.tflite", "assets/accelerometer-only/model.tflite"), stored)
    }

    @Test
    fun `the library exists for every ABI and is uncompressed`() {
        val machines = mapOf("arm64-v8a" to 183, "armeabi-v7a" to 40, "x86" to 3, "x86_64" to 62) // e_machine, ELF
        assertEquals(machines.keys.map { "lib/$it/$LIBRARY" }, entries.keys.filter { it.startsWith("lib/") }.sorted())
        assertEquals(machines.keys, badgingValues("native-code").single().split("' '").toSet())
        for ((abi, machine) in machines) {
            val library = content("lib/$abi/$LIBRARY")
            assertTrue(abi, library.contentEquals(File(setting("tflite"), "jni/$abi/$LIBRARY").readBytes()))
            assertEquals(abi, machine, (library[18].toInt() and 0xff) + 256 * library[19])
            assertEquals(abi, ZipEntry.STORED, entries.getValue("lib/$abi/$LIBRARY").method)
        }
        tool("zipalign", "-c", "-p", "4", apk.path) // libraries are page-aligned, the model is word-aligned
    }

    @Test
    fun `the APK contains no debug, test or compiler files`() {
        assertTrue(badging, "application-debuggable" !in badging)
        assertEquals(emptyList<Element>(), manifest.filter { "debuggable" in it.attributes || "testOnly" in it.attributes })
        val known = Regex("AndroidManifest\\.xml|resources\\.arsc|classes\\.dex|assets/[a-z./-]+|lib/[^/]+/$LIBRARY|res/.+")
        assertEquals(emptyList<String>(), entries.keys.filterNot(known::matches))
        val tests = listOf("app", "core", "recognition").flatMap { module ->
            main.resolve("../../../$module/src/test").walk().filter { it.extension == "kt" }.map { it.nameWithoutExtension }.toList()
        }
        assertTrue("$tests", tests.size > 20)
        assertEquals(emptyList<String>(), kept.filter { it.substringAfterLast('.').substringBefore('$') in tests && "org.harexport" in it || it == "kotlin.Metadata" })
    }

    @Test
    fun `the code consists of app, core, Compose and runtime`() {
        val foreign = listOf("android.", "java.", "javax.", "org.json.", "org.junit.", "org.robolectric.")
        // R8 adds an empty class for each superclass that is newer than minSdk. AndroidX has classes in android.support.
        val stubs = flags.filter { (name, access) -> name.startsWith("android.") && "SYNTHETIC" in access }.keys
        val names = (classes + kept - stubs).filterNot { it.startsWith("android.support.v4.") }
        assertEquals(emptyList<String>(), names.filter { name -> foreign.any(name::startsWith) })
        for (own in listOf("org.harexport.demo.", "org.harexport.core.")) {
            assertTrue(own, kept.any { it.startsWith(own) })
        }
        // App and libraries have over 12,000 classes; R8 removes what is not used.
        assertTrue("${classes.size} classes", classes.size in 20..8000)
        for (name in listOf("Interpreter", "NativeInterpreterWrapper", "TensorFlowLite")) {
            assertTrue(name, "org.tensorflow.lite.$name" in classes)
        }
    }

    @Test
    fun `every component of the manifest has a class`() {
        assertTrue(components.toString(), components.size >= 4)
        assertEquals(emptyList<String>(), components.map { it.name }.filterNot(classes::contains))
    }

    @Test
    fun `the merged manifest has the type of the service, and authorities of this app alone`() {
        val service = components.single { it.tag == "service" }
        assertEquals(FOREGROUND_SERVICE_TYPE_HEALTH, Integer.decode(service.attributes.getValue("foregroundServiceType")))
        val authorities = components.filter { it.tag == "provider" }.map { it.attributes.getValue("authorities") }
        assertEquals(listOf("recordings", "androidx-startup").map { "${setting("demo.package")}.$it" }, authorities)
        assertEquals(emptyList<Element>(), manifest.filter { it.tag == "permission" })
    }

    @Test
    fun `only the main screen is exported, and the self-test to adb`() {
        val reachable = components.filter { it.attributes["exported"] == "true" }.associate { it.name to it.attributes["permission"] }
        val own = mapOf("MainActivity" to null, "SelfTestActivity" to "android.permission.DUMP").mapKeys { "${setting("demo.package")}.${it.key}" }
        // Of AndroidX; only the adb shell can call it.
        assertEquals(own + ("androidx.profileinstaller.ProfileInstallReceiver" to "android.permission.DUMP"), reachable)
        assertEquals("false", components.first { it.tag == "application" }.attributes["allowBackup"])
    }

    @Test
    fun `the signature is valid`() {
        val verified = tool("apksigner", "verify", "--verbose", "--print-certs", apk.path)
        assertTrue(verified, "Verified using v2 scheme (APK Signature Scheme v2): true" in verified)
        assertTrue(verified, "Number of signers: 1" in verified)
    }

    /** The resource IDs compiled into the app's classes must match the resources of this APK. */
    @Test
    fun `resource IDs match`() {
        val here = File(setting("gen"), "org/harexport/demo/R.java").readText()
        val there = File(setting("compiled"), "org/harexport/demo/R.java").readText()
        assertTrue(here.length > 1000)
        assertEquals(there, here)
    }

    @Test
    fun `the APK is small`() {
        val size = apk.length()
        val libraries = entries.filterKeys { it.startsWith("lib/") }.values.sumOf { it.size }
        val digest = MessageDigest.getInstance("SHA-256").digest(apk.readBytes()).joinToString("") { "%02x".format(it) }
        val count = entries.keys.count { it.endsWith(LIBRARY) }
        val code = entries.getValue("classes.dex").size / 1000
        println(
            "APK: ${size / 1000} KB, including ${libraries / 1000} KB of libraries for $count ABIs and $code KB of code in " +
                "${classes.size} classes; SHA-256 $digest",
        )
        assertTrue("$size bytes", size - libraries < 4_000_000)
    }

    private fun badgingValues(key: String): List<String> =
        badging.lines().filter { it.startsWith("$key:") }.map { it.substringAfter(":").trim().trim('\'') }

    private fun features(kind: String): List<String> =
        badging.lines().map(String::trim).filter { it.startsWith(kind) && "faketouch" !in it }.map {
            it.substringAfter("name='").substringBefore("'")
        }

    private fun content(name: String): ByteArray = ZipFile(apk).use { it.getInputStream(it.getEntry(name)).readBytes() }

    private fun tool(vararg command: String): String {
        val process = ProcessBuilder(*command).redirectErrorStream(true).start()
        val output = process.inputStream.bufferedReader().readText()
        check(process.waitFor() == 0) { "${command.joinToString(" ")}: $output" }
        return output
    }

    private data class Element(val tag: String, val attributes: MutableMap<String, String>) {
        val name: String get() = attributes.getValue("name").let { if (it.startsWith(".")) setting("demo.package") + it else it }
    }

    private companion object {
        /** ServiceInfo.FOREGROUND_SERVICE_TYPE_HEALTH. */
        const val FOREGROUND_SERVICE_TYPE_HEALTH = 256
        const val LIBRARY = "libtensorflowlite_jni.so"
        val ELEMENT = Regex(" *E: (\\S+) .*")
        val ATTRIBUTE = Regex(" *A: .*?:?(\\w+)(?:\\(0x[0-9a-f]+\\))?=\"?([^\"]*)\"?.*")
        val MAPPED = Regex("([\\w.$-]+) -> (?!R8..REMOVED)[\\w.$-]+:")

        fun setting(name: String): String = checkNotNull(System.getProperty(name)) { "system property $name is not set; run with Maven" }

        /** Parses the elements and attributes of `aapt2 dump xmltree`. */
        fun elements(tree: String): List<Element> {
            val found = ArrayList<Element>()
            for (line in tree.lines()) {
                ELEMENT.matchEntire(line)?.let { found += Element(it.groupValues[1], mutableMapOf()) }
                ATTRIBUTE.matchEntire(line)?.let { found.last().attributes[it.groupValues[1]] = it.groupValues[2] }
            }
            return found
        }
    }
}
