package org.harexport.lint

import com.android.tools.lint.Main
import java.io.File
import javax.xml.parsers.DocumentBuilderFactory
import org.junit.Assert.assertEquals
import org.junit.Test
import org.w3c.dom.Element

/** Android lint without Gradle. Warnings are written to report.txt, which the summary of the checks shows. */
class LintTest {
    private val demo = File(setting("demo")).canonicalFile
    private val built = File(setting("built")).canonicalFile
    private val output = File(setting("output")).apply { mkdirs() }.canonicalFile
    private val main = File(demo, "app/src/main")

    /** A call with too few arguments: lint finds it only if it has read sources, class path and resources. */
    private val planted = File(output, "Planted.kt")

    private fun files(folder: File, vararg suffixes: String): List<File> = folder.walk().filter { it.extension in suffixes }.sorted().toList()

    /** Writes the description of the project that the Android Gradle plugin would pass to lint. */
    private fun describe(): File {
        val sources = files(File(main, "kotlin"), "kt") + files(File(demo, "recognition/src/main/kotlin"), "kt") + planted
        val lines = sources.map { "<src file=\"$it\"/>" } +
            files(File(built, "generated/r"), "java").map { "<src file=\"$it\" generated=\"true\"/>" } +
            files(File(main, "res"), "xml").map { "<resource file=\"$it\"/>" } +
            File(built, "classpath.txt").readText().split(File.pathSeparator).map { "<classpath jar=\"$it\"/>" } +
            files(File(setting("libraries")), "jar").filter { it.name == "lint.jar" }.map { "<lint-checks jar=\"$it\"/>" } +
            listOf(File(demo, "app/proguard-rules.pro"), File(demo, "recognition/consumer-rules.pro")).map { "<proguard file=\"$it\"/>" } +
            "<manifest file=\"${File(main, "AndroidManifest.xml")}\"/>" +
            "<merged-manifest file=\"${File(built, "linked/merged.xml")}\"/>"
        val module = "<module name=\"app\" android=\"true\" compile-sdk-version=\"${setting("compileSdk")}\">"
        return File(output, "project.xml").apply { writeText("<project><root dir=\"$demo\"/>$module${lines.joinToString("\n")}</module></project>") }
    }

    @Test
    fun `the app has no lint errors`() {
        planted.writeText("package org.harexport.demo\n\nfun planted(context: android.content.Context) = context.getString(R.string.mount_known, 1)\n")
        val report = File(output, "report.xml")
        // NewApi needs the API database of the Android SDK; the version is set by the build, not by the manifest.
        val arguments = arrayOf(
            "--project", describe().path, "--config", File(demo, "app/lint.xml").path, "--disable", "NewApi,MissingVersion",
            "--offline", "--quiet", "--cache-dir", File(output, "cache").path, "--xml", report.path,
        )
        assertEquals(0, Main().run(arguments))
        val issues = DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(report).getElementsByTagName("issue").let { found ->
            List(found.length) { found.item(it) as Element }
        }
        val lines = issues.map { issue ->
            val location = issue.getElementsByTagName("location").item(0) as Element
            val file = File(location.getAttribute("file"))
            "${issue.getAttribute("severity")}: ${file.name}:${location.getAttribute("line")}: ${issue.getAttribute("message")} [${issue.getAttribute("id")}]"
        }
        val (own, others) = lines.partition { "${planted.name}:" in it }
        assertEquals("the planted error in $lines", setOf("StringFormatMatches"), own.map { it.substringAfterLast('[').removeSuffix("]") }.toSet())
        File(output, "report.txt").writeText(others.joinToString("") { "$it\n" })
        assertEquals(emptyList<String>(), others.filterNot { it.startsWith("Warning:") })
    }

    private companion object {
        fun setting(name: String): String = checkNotNull(System.getProperty(name)) { "system property $name is not set; run with Maven" }
    }
}
