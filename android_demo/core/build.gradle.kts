plugins {
    alias(libs.plugins.kotlin.jvm)
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    compileOnly(libs.json) // part of Android
    testImplementation(libs.json)
    testImplementation(libs.junit)
}

tasks.test {
    useJUnit()
    systemProperty("repository", rootDir.parent) // the tests read tests/golden
}
