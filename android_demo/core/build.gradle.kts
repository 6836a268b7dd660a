// Self-contained: copy this folder into any Gradle project with the Kotlin plugin. Its tests need the harexport repository.
plugins {
    kotlin("jvm")
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    compileOnly("org.json:json:20250517") // part of Android
    testImplementation("org.json:json:20250517")
    testImplementation("junit:junit:4.13.2")
}

tasks.test {
    useJUnit()
    systemProperty("repository", rootDir.parent) // the tests read tests/golden
}
